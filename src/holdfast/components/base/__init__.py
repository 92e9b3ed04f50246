"""What every other component stands on: base packages, the programs of holdfast_onhost, uv, the CA store."""
