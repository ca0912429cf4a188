# The code of julia/README.md, "A model of your own"; tests/test_readme.py compares them.
using PyNODE
using PyNODE: STATE, Run, TapeWriter, operation!, parameter!

w = TapeWriter("lotka-volterra", 2)
rates = parameter!(w, "rates", 4) # theta: a, b, c, d
column(x, i) = operation!(w, "move", [x], 1; runs = [Run(1, i - 1, 1, 0, 1, 1)])
times(x, y) = operation!(w, "multiply", [x, y], 1)
minus(x, y) = operation!(w, "add", [x, y], 1; numbers = [1, -1])
a, b, c, d = (column(rates, i) for i in 1:4)
prey, hunters = column(STATE, 1), column(STATE, 2)
met = times(prey, hunters)
growth, decline = minus(times(a, prey), times(b, met)), minus(times(d, met), times(c, hunters))
slope = operation!(w, "move", [growth, decline], 2; runs = [Run(1, 0, 1, 0, 1, 1), Run(2, 0, 1, 1, 1, 1)])
field = Tape(w, slope)

system = System(field, 1) # one trajectory
theta, y0, ts = [1.5, 1.0, 3.0, 1.0], [1.0, 1.0], [0.0, 1.0, 2.0]
solution = solve_forward(system, theta, y0, ts, OptDisc(adjoint = "gauss"))
gradient = pullback(solution, 2 .* solution.ys) # of sum(abs2, ys): by_theta, by_y0
