"""Words for neurons."""
