# The interpreter backwards: cotangents of all registers and of their tangents, from those of the field's value.

function backward!(Ybar, theta_bar, buf::TapeBuffers{T}, tape::Tape, theta, t, Y, V, fbar, pushed_bar) where {T}
    program, wanted = tape.program, 0x00
    if Ybar !== nothing
        wanted |= BY_STATE
        buf.bars[Y_REGISTER] = Ybar
        program.registers[program.output].leads & BY_STATE == 0 && fill!(Ybar, zero(T))
    end
    theta_bar === nothing || (wanted |= BY_THETA)
    buf.bars[program.output] = fbar
    buf.k > 0 && (buf.tangent_bars[program.output] = pushed_bar)
    pull!(buf, program, theta, theta_bar === nothing ? buf.no_theta : theta_bar, wanted)
    return nothing
end

"Instruction after instruction, from the last one: the cotangents of all registers that lead to what is `wanted`."
function pull!(buf::TapeBuffers{T}, program::Program, theta, theta_bar, wanted) where {T}
    by_theta = wanted & BY_THETA != 0
    if by_theta
        for register in program.time_bars
            fill!(buf.bars[register], zero(T))
        end
    end
    for i in length(program.instructions):-1:1
        pull!(buf, program, program.instructions[i], theta, theta_bar, wanted, buf.k)
    end
    by_theta || return nothing # what depends on time alone leads to nothing else
    for i in length(program.before):-1:1
        pull!(buf, program, program.before[i], theta, theta_bar, wanted, 0)
    end
    for row in program.rows
        program.registers[row.register].leads == 0 && continue
        add_columns!(vector_at(theta_bar, row.at, row.n), buf.bars[row.register])
    end
    return nothing
end

"One instruction; operands in reverse order, which is what `adds` was made for."
function pull!(buf::TapeBuffers, program::Program, it::Instruction, theta, theta_bar, wanted, k)
    it.pulls && program.registers[it.out].leads & wanted != 0 || return nothing
    code = it.code
    if code == LINEAR
        pull_linear!(buf, it, theta, theta_bar, wanted, k)
    elseif code == ADD
        pull_scaled!(buf, it, it.b, it.q, wanted, k)
        pull_scaled!(buf, it, it.a, it.p, wanted, k)
    elseif code == MULTIPLY
        pull_product!(buf, it, it.b, it.a, wanted, k)
        pull_product!(buf, it, it.a, it.b, wanted, k)
    elseif code == MOVE
        pull_move!(buf, program, it, wanted, k)
    elseif code == CHOOSE
        pull_chosen!(NotChosen(), buf, it, it.c, wanted, k)
        pull_chosen!(Chosen(), buf, it, it.b, wanted, k)
    else
        pull_unary!(buf, it, wanted, k)
    end
    return nothing
end

"The cotangents of matrix, bias and argument."
function pull_linear!(buf::TapeBuffers, it::Instruction, theta, theta_bar, wanted, k)
    m = it.matrix
    if wanted & BY_THETA != 0 && it.bias_at >= 0
        add_columns!(vector_at(theta_bar, it.bias_at, it.columns), buf.bars[it.out])
    end
    if m.in_theta
        wanted & BY_THETA != 0 && pull_matrix!(stored(theta_bar, m), buf, it, k)
        pull_argument!(stored(theta, m), buf, it, wanted, k)
    else
        wanted & m.leads != 0 && pull_matrix!(buf.matrix_bars[m.at], buf, it, k)
        pull_argument!(buf.matrices[m.at], buf, it, wanted, k)
    end
    return nothing
end

function pull_matrix!(Mbar, buf::TapeBuffers, it::Instruction, k)
    out, x, transposed = it.out, it.a.register, it.matrix.transposed
    add_outer!(Mbar, buf.values[x], buf.bars[out], transposed)
    k > 0 && it.has_tangents && add_outer!(Mbar, buf.tangents[x], buf.tangent_bars[out], transposed)
    return nothing
end

add_outer!(Mbar, X, U, transposed) = transposed ? add_weight!(Mbar, U, X) : add_weight!(Mbar, X, U)

function pull_argument!(M, buf::TapeBuffers, it::Instruction, wanted, k)
    x, transposed = it.a, it.matrix.transposed
    if x.leads & wanted != 0
        pull_linear!(buf.bars[x.register], M, buf.bars[it.out], transposed, x.adds)
    end
    if k > 0 && x.tangents_lead & wanted != 0
        pull_linear!(buf.tangent_bars[x.register], M, buf.tangent_bars[it.out], transposed, x.tangents_add)
    end
    return nothing
end

pull_linear!(X, M, U, transposed, adds) = transposed ? product!(X, M, U, adds) : pull_input!(X, M, U, adds)

"The result's cotangent as that of an operand of an elementwise operation, where it is `f` of it and of a mask."
function pull_by!(f, buf::TapeBuffers, it::Instruction, operand::Operand, other, wanted, k)
    operand.leads & wanted == 0 && return nothing
    bar, columns = buf.bars[it.out], it.columns
    n = size(bar, 2)
    mask = other == 0 ? block(bar, columns, n) : block(buf.values[other], columns, n)
    combine!(f, block(buf.bars[operand.register], columns, n), block(bar, columns, n), mask, columns, n, operand.adds)
    k > 0 && operand.tangents_lead & wanted != 0 || return nothing
    for m in 0:(k - 1)
        to = block(buf.tangent_bars[operand.register], columns, n, m * n)
        from = block(buf.tangent_bars[it.out], columns, n, m * n)
        combine!(f, to, from, other == 0 ? from : mask, columns, n, operand.tangents_add)
    end
    return nothing
end

function pull_scaled!(buf::TapeBuffers{T}, it::Instruction, operand::Operand, scale, wanted, k) where {T}
    return pull_by!(Scaled(T(scale)), buf, it, operand, 0, wanted, k)
end

pull_chosen!(f, buf::TapeBuffers, it::Instruction, operand::Operand, wanted, k) = pull_by!(
    f,
    buf,
    it,
    operand,
    it.a.register,
    wanted,
    k,
)

"The result's cotangent times the other operand; those of the tangents times its tangents."
function pull_product!(buf::TapeBuffers, it::Instruction, operand::Operand, other::Operand, wanted, k)
    pull_by!(Times(), buf, it, operand, other.register, wanted, k)
    operand.leads & wanted != 0 && k > 0 && other.has_tangents || return nothing
    columns, n = it.columns, buf.batch
    to = block(buf.bars[operand.register], columns, n)
    for m in 0:(k - 1)
        from = block(buf.tangent_bars[it.out], columns, n, m * n)
        combine!(Times(), to, from, block(buf.tangents[other.register], columns, n, m * n), columns, n, true)
    end
    return nothing
end

"Columns of the result's cotangent to where they came from."
function pull_move!(buf::TapeBuffers{T}, program::Program, it::Instruction, wanted, k) where {T}
    for s in Iterators.reverse(it.sources)
        operand = program.sources[s]
        operand.leads & wanted != 0 && !operand.adds && fill!(buf.bars[operand.register], zero(T))
        if k > 0 && operand.tangents_lead & wanted != 0 && !operand.tangents_add
            fill!(buf.tangent_bars[operand.register], zero(T))
        end
    end
    for r in it.runs
        run = program.runs[r]
        operand = program.sources[it.sources[run.input]]
        operand.leads & wanted != 0 && move_back!(buf.bars[operand.register], buf.bars[it.out], run)
        if k > 0 && operand.tangents_lead & wanted != 0
            move_back!(buf.tangent_bars[operand.register], buf.tangent_bars[it.out], run)
        end
    end
    return nothing
end

"f'(x) times the result's cotangent, and f''(x) x' times those of the tangents."
function pull_unary!(buf::TapeBuffers{T}, it::Instruction, wanted, k) where {T}
    operand, x, a = it.a, buf.values[it.a.register], buf.values[it.out]
    operand.leads & wanted == 0 && return nothing
    xbar, bar, adds = buf.bars[operand.register], buf.bars[it.out], operand.adds
    if k == 0 || !it.has_tangents
        with_function(it.code, narrowed(T, it.p), narrowed(T, it.q)) do f
            @inbounds @simd ivdep for i in eachindex(xbar, bar, x, a)
                pulled = slope(f, x[i], a[i]) * bar[i]
                xbar[i] = ifelse(adds, xbar[i], zero(T)) + pulled
            end
        end
        return nothing
    end
    n, slopes = length(a), buf.slopes[it.out]
    tangents, tangent_bars = buf.tangents[operand.register], buf.tangent_bars[it.out]
    if it.bends
        sums = sum_of_products!(buf.scratch, tangents, tangent_bars, n, k)
        with_function(it.code, narrowed(T, it.p), narrowed(T, it.q)) do f
            @inbounds @simd ivdep for i in 1:n
                pulled = slopes[i] * bar[i] + curvature(f, x[i], a[i]) * sums[i]
                xbar[i] = ifelse(adds, xbar[i], zero(T)) + pulled
            end
        end
    else
        add_products!(xbar, slopes, bar, n, 0, adds)
    end
    operand.tangents_lead & wanted == 0 && return nothing
    for m in 0:(k - 1)
        add_products!(buf.tangent_bars[operand.register], slopes, tangent_bars, n, m * n, operand.tangents_add)
    end
    return nothing
end

"`sums = sum over m of X Y` for the k blocks of n numbers that X and Y consist of."
function sum_of_products!(sums::Matrix{T}, X, Y, n, k) where {T}
    for m in 0:(k - 1)
        @inbounds @simd ivdep for i in 1:n
            sums[i] = ifelse(m == 0, zero(T), sums[i]) + X[m * n + i] * Y[m * n + i]
        end
    end
    return sums
end

"`X = slopes Y` for the n numbers of X and Y from `at + 1` on, or added to it."
function add_products!(X::Matrix{T}, slopes, Y, n, at, adds) where {T}
    @inbounds @simd ivdep for i in 1:n
        X[at + i] = ifelse(adds, X[at + i], zero(T)) + slopes[i] * Y[at + i]
    end
    return nothing
end
