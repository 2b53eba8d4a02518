"""Numbers about pictures, codes and features: pure functions, one module a question.

`judge` is the classifier of real training images whose features and predictions `distances` and
`adherence` compare. No module here imports another, so that an edit reruns only what it can change.
"""
