"""The read side: what REST, consoles and programs are shown; changes nothing but annotations."""
