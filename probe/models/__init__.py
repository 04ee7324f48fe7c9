"""What happens inside a model: its blocks, batches of text through them, its head."""
