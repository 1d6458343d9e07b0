"""What a machine's console showed last: heard by its hammers, and sent by the machine itself."""
