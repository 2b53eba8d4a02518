"""The generator: a trained model that draws, edits and captions pictures."""
