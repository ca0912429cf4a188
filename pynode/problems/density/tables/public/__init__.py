"""The five public sets of Papamakarios et al. 2017, which the study uses."""
