"""What the evaluation drives and reports."""
