# Loops over blocks of numbers, with operands that may be one row for all samples or one column for all columns.

"`numbers` as an operand of elementwise operations, whose entry (i, j) stands at `at + i by_column + j by_sample`."
struct Block{T}
    numbers::Matrix{T}
    at::Int
    by_column::Int
    by_sample::Int
end

"""
    block(numbers, columns, samples, skip = 0)

`numbers` for results `(columns, samples)`, from its sample `skip + 1` on: a single column stands for all of them, and a
single sample for all samples.
"""
@inline function block(numbers::Matrix, columns, samples, skip = 0)
    own, n = size(numbers)
    by_column = own == 1 && columns > 1 ? 0 : 1
    by_sample = n == 1 && samples > 1 ? 0 : own
    return Block(numbers, 1 + skip * own - by_column - by_sample, by_column, by_sample)
end

Base.@propagate_inbounds Base.getindex(b::Block, i, j) = b.numbers[b.at + i * b.by_column + j * b.by_sample]
Base.@propagate_inbounds function Base.setindex!(b::Block, x, i, j)
    b.numbers[b.at + i * b.by_column + j * b.by_sample] = x
    return x
end

is_whole(b::Block, columns) = b.by_column == 1 && b.by_sample == columns

"The place before its first number, where the block is whole."
start(b::Block) = b.at + b.by_column + b.by_sample - 1

# What is done with two numbers.
struct Times end
(::Times)(x, y) = x * y

struct Scaled{T}
    alpha::T
end
(f::Scaled)(x, _) = f.alpha * x

struct WeightedSum{T}
    alpha::T
    beta::T
end
(f::WeightedSum)(x, y) = f.alpha * x + f.beta * y

"x where the mask is not 0, else 0."
struct Chosen end
(::Chosen)(x, mask) = ifelse(mask != 0, x, zero(x))

"x where the mask is 0, else 0."
struct NotChosen end
(::NotChosen)(x, mask) = ifelse(mask != 0, zero(x), x)

"`out = f(a, b)` entry by entry, or added to it; summed over what `out` has once only (over samples only added)."
function combine!(f, out::Block{T}, a::Block, b::Block, columns, samples, adds) where {T}
    if out.by_column == 0
        @inbounds for j in 1:samples
            s = zero(T)
            @simd for i in 1:columns
                s += f(a[i, j], b[i, j])
            end
            out[1, j] = adds ? out[1, j] + s : s
        end
    elseif is_whole(out, columns) && is_whole(a, columns) && is_whole(b, columns)
        to, from, other = start(out), start(a), start(b)
        if adds
            @inbounds @simd ivdep for i in 1:(columns * samples)
                out.numbers[to + i] += f(a.numbers[from + i], b.numbers[other + i])
            end
        else
            @inbounds @simd ivdep for i in 1:(columns * samples)
                out.numbers[to + i] = f(a.numbers[from + i], b.numbers[other + i])
            end
        end
    else
        @inbounds for j in 1:samples
            @simd ivdep for i in 1:columns
                x = f(a[i, j], b[i, j])
                out[i, j] = ifelse(adds, out[i, j], zero(T)) + x
            end
        end
    end
    return nothing
end

"`out = a` where the mask is not 0, else `b`; `nothing` stands for zeros."
function choose!(out::Block{T}, mask::Block, a, b, columns, samples) where {T}
    @inbounds for j in 1:samples, i in 1:columns
        x = a === nothing ? zero(T) : a[i, j]
        y = b === nothing ? zero(T) : b[i, j]
        out[i, j] = ifelse(mask[i, j] != 0, x, y)
    end
    return nothing
end

"""
    move!(out, source, run, adds)

Columns of `source` to those of `out`, or added to them. A single sample of the source stands for all of `out`; a single one of
`out`, which is added to, takes the sum over those of the source.
"""
function move!(out::Matrix{T}, source::Matrix, run::Run, adds) where {T}
    single_out, single_source = size(out, 2) == 1, size(source, 2) == 1
    @inbounds for j in axes(single_source ? out : source, 2)
        to, from = single_out ? 1 : j, single_source ? 1 : j
        if run.to_step == 0
            s = zero(T)
            for k in 0:(run.count - 1)
                s += source[1 + run.first + k * run.step, from]
            end
            out[1 + run.to, to] += s # several columns meet in one, so that what they add to has been cleared
        elseif adds
            @simd ivdep for k in 0:(run.count - 1)
                out[1 + run.to + k * run.to_step, to] += source[1 + run.first + k * run.step, from]
            end
        else
            @simd ivdep for k in 0:(run.count - 1)
                out[1 + run.to + k * run.to_step, to] = source[1 + run.first + k * run.step, from]
            end
        end
    end
    return nothing
end

"Adds columns of the cotangent `bar` of a result to those that a run has moved there."
move_back!(source_bar, bar, run::Run) = move!(source_bar, bar, reversed(run), true)

"The largest of each group of adjoining columns; NaN where there is one."
function largest!(out::Matrix, X::Matrix)
    size_of_group = size(X, 1) ÷ size(out, 1)
    @inbounds for j in axes(out, 2), group in axes(out, 1)
        at = (group - 1) * size_of_group
        x = X[at + 1, j]
        for i in 2:size_of_group
            x = max(x, X[at + i, j])
        end
        out[group, j] = x
    end
    return nothing
end
