"""What people should know, and how they are told."""
