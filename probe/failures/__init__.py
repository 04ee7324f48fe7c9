"""Where does a variant do worse than Base, and what does troublesome text cost (stage 4)?"""
