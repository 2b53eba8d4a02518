"""What text encoders share: their contract, token rows and pretrained files."""
