# The interpreter: values of all registers and their tangents, instruction after instruction, into memory made once.

"""
    TapeBuffers{T}

Memory for one tape with `batch` samples and `k` tangents each: for every register of the program its value, its
tangents `(columns, batch * k)`, and their cotangents, which share memory where their lives allow; of functions of one
number that have tangents also the slopes. `value` and `pushed` are those of the field.
"""
struct TapeBuffers{T}
    values::Vector{Matrix{T}}
    tangents::Vector{Matrix{T}}
    slopes::Vector{Matrix{T}}
    bars::Vector{Matrix{T}}
    tangent_bars::Vector{Matrix{T}}
    matrices::Vector{Matrix{T}} # registers of time as matrices (in, out), and their cotangents
    matrix_bars::Vector{Matrix{T}}
    scratch::Matrix{T}
    value::Matrix{T}
    pushed::Matrix{T}
    no_theta::Vector{T}
    batch::Int
    k::Int
end

function buffers(tape::Tape, ::Type{T}, batch, k) where {T}
    program, none = tape.program, zeros(T, 0, 0)
    registers = program.registers
    values = [zeros(T, r.columns, r.is_state ? batch : 1) for r in registers]
    has_tangents(r) = k > 0 && r.has_tangents
    tangents = [has_tangents(r) ? zeros(T, r.columns, batch * k) : none for r in registers]
    slopes = fill(none, length(registers))
    for it in program.instructions
        k > 0 && it.has_tangents && it.code <= length(FUNCTIONS) && (slopes[it.out] = zeros(T, it.columns, batch))
    end
    bars = [r.is_state ? none : zeros(T, r.columns, 1) for r in registers]
    tangent_bars = fill(none, length(registers))
    share_bars!(bars, program, batch, operand -> operand.leads)
    k > 0 && share_bars!(tangent_bars, program, batch * k, operand -> operand.tangents_lead)
    as_matrix(all_values, m) = reshape(all_values[m.register], m.n_in, m.n_out)
    out = program.output
    return TapeBuffers{T}(
        values,
        tangents,
        slopes,
        bars,
        tangent_bars,
        Matrix{T}[as_matrix(values, m) for m in program.matrices],
        Matrix{T}[as_matrix(bars, m) for m in program.matrices],
        zeros(T, k > 0 ? maximum(r.columns for r in registers) : 0, batch),
        values[out],
        isempty(tangents[out]) ? zeros(T, state_dim(tape), batch * k) : tangents[out],
        T[],
        batch,
        k,
    )
end

"Cotangents of `n` samples: a register has one from the last instruction that reads it to the one that writes it."
function share_bars!(bars::Vector{Matrix{T}}, program, n, leads) where {T}
    free = Dict{Int, Vector{Matrix{T}}}() # by columns
    left(columns) = get!(() -> Matrix{T}[], free, columns)
    is_held = falses(length(bars))
    for it in Iterators.reverse(program.instructions)
        it.pulls || continue
        for operand in operands(program, it)
            register = operand.register
            # that of the state is given by who asks for it
            (leads(operand) == 0 || register == Y_REGISTER || is_held[register]) && continue
            r = program.registers[register]
            r.is_state || continue
            bars[register] = isempty(left(r.columns)) ? zeros(T, r.columns, n) : pop!(left(r.columns))
            is_held[register] = true
        end
        is_held[it.out] && push!(left(it.columns), bars[it.out])
    end
    return nothing
end

function forward!(buf::TapeBuffers, tape::Tape, theta, t, Y, V)
    program = tape.program
    buf.values[T_REGISTER][1] = t
    buf.values[Y_REGISTER] = Y
    buf.k > 0 && (buf.tangents[Y_REGISTER] = V)
    for row in program.rows
        set_columns!(buf.values[row.register], vector_at(theta, row.at, row.n))
    end
    for it in program.before
        execute!(buf, program, it, theta, 0)
    end
    for it in program.instructions
        execute!(buf, program, it, theta, buf.k)
    end
    return nothing
end

"One instruction; its result has as many samples as its register, and `k` tangents each where it has some."
function execute!(buf::TapeBuffers, program::Program, it::Instruction, theta, k)
    code = it.code
    if code == LINEAR
        linear!(buf, it, theta, k)
    elseif code == ADD
        add!(buf, it, k)
    elseif code == MULTIPLY
        multiply!(buf, it, k)
    elseif code == MOVE
        move!(buf, program, it, k)
    elseif code == CHOOSE
        choose!(buf, it, k)
    elseif code == LARGEST
        largest!(buf.values[it.out], buf.values[it.a.register])
    else
        unary!(buf, it, k)
    end
    return nothing
end

"W x + bias, and W x'."
function linear!(buf::TapeBuffers, it::Instruction, theta, k)
    m, out, x = it.matrix, it.out, it.a.register
    has_bias = it.bias_at >= 0
    has_bias && set_columns!(buf.values[out], vector_at(theta, it.bias_at, it.columns))
    if m.in_theta
        M = stored(theta, m)
        push_linear!(buf.values[out], M, buf.values[x], m.transposed, has_bias)
        k > 0 && it.has_tangents && push_linear!(buf.tangents[out], M, buf.tangents[x], m.transposed, false)
    else
        M = buf.matrices[m.at]
        push_linear!(buf.values[out], M, buf.values[x], false, has_bias)
        k > 0 && it.has_tangents && push_linear!(buf.tangents[out], M, buf.tangents[x], false, false)
    end
    return nothing
end

"A matrix as memory holds it: (in, out), or (out, in) if it is a transposed one."
stored(theta, m::MatrixPlace) = matrix_at(theta, m.at, (m.transposed ? (m.n_out, m.n_in) : (m.n_in, m.n_out))...)

push_linear!(U, M, X, transposed, adds) = transposed ? pull_input!(U, M, X, adds) : product!(U, M, X, adds)

function add!(buf::TapeBuffers{T}, it::Instruction, k) where {T}
    a, b, out, columns = it.a.register, it.b.register, it.out, it.columns
    alpha, beta = T(it.p), T(it.q)
    combine_values!(WeightedSum(alpha, beta), buf.values, out, a, b, columns)
    k > 0 && it.has_tangents || return nothing
    tangents, n = buf.tangents, size(buf.tangents[out], 2)
    whole(register) = block(tangents[register], columns, n)
    if it.a.has_tangents && it.b.has_tangents
        combine!(WeightedSum(alpha, beta), whole(out), whole(a), whole(b), columns, n, false)
    elseif it.a.has_tangents
        combine!(Scaled(alpha), whole(out), whole(a), whole(a), columns, n, false)
    else
        combine!(Scaled(beta), whole(out), whole(b), whole(b), columns, n, false)
    end
    return nothing
end

function combine_values!(f, values, out, a, b, columns)
    n = size(values[out], 2)
    of(register) = block(values[register], columns, n)
    combine!(f, of(out), of(a), of(b), columns, n, false)
    return nothing
end

"a b, and a' b + a b'."
function multiply!(buf::TapeBuffers, it::Instruction, k)
    a, b, out, columns = it.a.register, it.b.register, it.out, it.columns
    combine_values!(Times(), buf.values, out, a, b, columns)
    k > 0 && it.has_tangents || return nothing
    n = buf.batch
    of(register) = block(buf.values[register], columns, n)
    tangent(register, m) = block(buf.tangents[register], columns, n, m * n)
    for m in 0:(k - 1)
        to = tangent(out, m)
        it.a.has_tangents && combine!(Times(), to, tangent(a, m), of(b), columns, n, false)
        it.b.has_tangents && combine!(Times(), to, tangent(b, m), of(a), columns, n, it.a.has_tangents)
    end
    return nothing
end

"a or b; tangents go the way of their sample."
function choose!(buf::TapeBuffers, it::Instruction, k)
    n, columns = size(buf.values[it.out], 2), it.columns
    of(register) = block(buf.values[register], columns, n)
    mask = of(it.a.register)
    choose!(of(it.out), mask, of(it.b.register), of(it.c.register), columns, n)
    k > 0 && it.has_tangents || return nothing
    for m in 0:(k - 1)
        tangent(register) = block(buf.tangents[register], columns, n, m * n)
        out, b, c = tangent(it.out), it.b, it.c
        if b.has_tangents && c.has_tangents
            choose!(out, mask, tangent(b.register), tangent(c.register), columns, n)
        elseif b.has_tangents
            choose!(out, mask, tangent(b.register), nothing, columns, n)
        else
            choose!(out, mask, nothing, tangent(c.register), columns, n)
        end
    end
    return nothing
end

function move!(buf::TapeBuffers{T}, program::Program, it::Instruction, k) where {T}
    sources, out = it.sources, buf.values[it.out]
    it.covers || fill!(out, zero(T))
    for r in it.runs
        run = program.runs[r]
        move!(out, buf.values[program.sources[sources[run.input]].register], run, !it.covers)
    end
    k > 0 && it.has_tangents || return nothing
    pushed = buf.tangents[it.out]
    it.covers_tangents || fill!(pushed, zero(T))
    for r in it.runs
        run = program.runs[r]
        operand = program.sources[sources[run.input]]
        operand.has_tangents && move!(pushed, buf.tangents[operand.register], run, !it.covers_tangents)
    end
    return nothing
end

"f(x), and f'(x) x'."
function unary!(buf::TapeBuffers{T}, it::Instruction, k) where {T}
    x, a = buf.values[it.a.register], buf.values[it.out]
    with_function(it.code, narrowed(T, it.p), narrowed(T, it.q)) do f
        @inbounds @simd ivdep for i in eachindex(a, x)
            a[i] = value(f, x[i])
        end
    end
    k > 0 && it.has_tangents || return nothing
    slopes, n = buf.slopes[it.out], length(a)
    with_function(it.code, narrowed(T, it.p), narrowed(T, it.q)) do f
        @inbounds @simd ivdep for i in eachindex(slopes, x, a)
            slopes[i] = slope(f, x[i], a[i])
        end
    end
    from, to = buf.tangents[it.a.register], buf.tangents[it.out]
    for m in 0:(k - 1)
        @inbounds @simd ivdep for i in 1:n
            to[m * n + i] = slopes[i] * from[m * n + i]
        end
    end
    return nothing
end
