# Everything but convolution.
