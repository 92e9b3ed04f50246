"""Open WebUI: the browser's door to both models, on loopback, with everything that acts or calls out by itself off."""
