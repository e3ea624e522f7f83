"""From a prompt to a picture: prompt encoding, samplers, denoising, decoding. Beneath both training and mixing."""
