"""What a person should see: pure functions on arrays."""
