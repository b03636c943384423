"""Settings learnt from the data by short trials on the labelled images, with the evidence."""
