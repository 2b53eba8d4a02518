"""What all sources share: their contract, splits, caption templates and preparing."""
