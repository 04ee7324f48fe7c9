"""What can pass for alignment and is none, and what may be said of a row?"""
