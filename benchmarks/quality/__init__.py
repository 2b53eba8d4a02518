"""Quality of the trained prior beside networks of other packages on the same tokens."""
