"""Files into items: read, checked, registered, produced."""
