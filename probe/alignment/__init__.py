"""How alike are sentences that mean the same, state by state, and what changed it (stage 3)?"""
