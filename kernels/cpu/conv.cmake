# Convolution and what is fused with it.
