"""Numbers about pictures, codes and features: pure functions, one module a question.

`judge` is the classifier of real training images whose features and predictions `distances` and
`adherence` compare. It imports none of the others, so that editing them never trains it again.
"""
