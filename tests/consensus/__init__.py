"""What is believed: votes, posterior, certificate, and the helpdesk as a whole."""
