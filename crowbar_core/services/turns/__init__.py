"""What a process is made of, and what one turn of it is."""
