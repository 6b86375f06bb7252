"""The tables and figures of the DEC paper, and the pictures of the talk, one command each."""
