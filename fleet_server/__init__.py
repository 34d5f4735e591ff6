"""What cars talk to, operators look at and trainers work for."""
