"""The syncing process: batches, receipts, status, commands and model updates."""
