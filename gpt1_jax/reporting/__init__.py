"""Workdirs -> tables beside the paper's, figures, one page."""
