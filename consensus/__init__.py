"""What is believed: votes, predictions and answers become a calibrated posterior for each item."""
