"""Network layers that several models share; they take flat keyword arguments."""
