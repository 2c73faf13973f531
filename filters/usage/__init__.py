"""What a call of a language model asks for, and what it has used."""
