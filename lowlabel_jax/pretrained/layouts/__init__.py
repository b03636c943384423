"""How published files name the tensors of our models: LAYOUTS of one architecture a file."""
