"""The contract of judges, their convolutional blocks, and batched inference."""
