"""What people see: signals, spread, batches."""
