"""A latent ODE on irregular series: a variational autoencoder whose decoder solves a neural ODE."""
