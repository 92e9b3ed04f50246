"""What two components or more use: each an idempotent pyinfra operation that reads one fact and says what it would change."""
