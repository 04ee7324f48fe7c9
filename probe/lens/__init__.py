"""Which language would a residual state speak, were it the last one (stage 5)?"""
