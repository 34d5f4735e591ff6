"""Who belongs to the fleet, where each car stands, and what it says of itself."""
