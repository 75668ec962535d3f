"""Tables, functions and what migrations call to install them."""
