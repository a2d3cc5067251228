"""One module per API family: a decoded request in, an answer or a wait out. Error codes are chosen here."""
