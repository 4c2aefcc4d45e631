"""Other systems' formats: what they read and write, made of ours and back."""
