"""From cars' batches to committed rows and signed receipts."""
