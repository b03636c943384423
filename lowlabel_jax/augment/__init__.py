"""How training images are changed: written for ONE image, mapped over the batch on the device.

One file an augmentation; it is found by its file's name. `geometry` and `colour` hold the pieces,
`views` makes of a batch what an objective asks for.
"""
