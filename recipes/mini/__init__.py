"""How the embedded mini base is made: icons, captions, VAE, UNet and text encoder, package, evaluation, grid."""
