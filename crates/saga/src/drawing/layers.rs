//! Puts boxes into rows so that arrows lead downwards and cross little.

/// Room between two boxes of a row, and between two rows.
const BESIDE: f64 = 28.0;
const BELOW: f64 = 22.0;
/// How often rows are put into a better order, and boxes moved towards their neighbours.
const SWEEPS: usize = 12;

/// Width and height.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    pub(super) wide: f64,
    pub(super) high: f64,
}

/// A place in the picture; of a box its middle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// An arrow between two different boxes; its label has a box of its own.
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: Size,
}

/// Where everything is.
pub(super) struct Laid {
    pub(super) nodes: Vec<Point>,
    pub(super) labels: Vec<Point>,
    /// Points through which each arrow passes, from its beginning to its head.
    pub(super) lines: Vec<Vec<Point>>,
    pub(super) size: Size,
}

/// A box, a label, or the place where a long arrow passes a row.
struct Cell {
    row: usize,
    size: Size,
    at: Point,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Lays out boxes of these sizes; those that are `last` stand in the last row.
pub(super) fn layers(sizes: &[Size], edges: &[Edge], last: &[usize]) -> Laid {
    let turned = turned(sizes.len(), edges);
    let rows = rows(sizes.len(), edges, &turned, last);
    let place = |(size, row): (&Size, usize)| Cell {
        row,
        size: *size,
        at: Point::default(),
        above: Vec::new(),
        below: Vec::new(),
    };
    let mut cells: Vec<Cell> = sizes.iter().zip(rows).map(place).collect();
    let chains: Vec<Vec<usize>> =
        edges.iter().zip(&turned).map(|(edge, turned)| chain(&mut cells, edge, *turned)).collect();
    let mut table = vec![Vec::new(); cells.iter().map(|cell| cell.row + 1).max().unwrap_or(0)];
    for (number, cell) in cells.iter().enumerate() {
        table[cell.row].push(number);
    }
    order(&mut table, &cells);
    spread(&table, &mut cells);
    let size = stack(&table, &mut cells);
    Laid {
        nodes: cells.iter().take(sizes.len()).map(|cell| cell.at).collect(),
        // The label is the first after the arrow's beginning.
        labels: chains.iter().map(|chain| cells[chain[1]].at).collect(),
        lines: chains.iter().map(|chain| line(&cells, chain)).collect(),
        size,
    }
}

/// Which arrows lead back to where one comes from: they are laid out the other way round.
fn turned(nodes: usize, edges: &[Edge]) -> Vec<bool> {
    fn visit(node: usize, edges: &[Edge], seen: &mut [u8], turned: &mut [bool]) {
        seen[node] = 1;
        for (number, edge) in edges.iter().enumerate().filter(|(_, edge)| edge.from == node) {
            match seen[edge.to] {
                0 => visit(edge.to, edges, seen, turned),
                // It is on the way to here.
                1 => turned[number] = true,
                _ => {}
            }
        }
        seen[node] = 2;
    }
    let (mut seen, mut turned) = (vec![0; nodes], vec![false; edges.len()]);
    for node in 0..nodes {
        if seen[node] == 0 {
            visit(node, edges, &mut seen, &mut turned);
        }
    }
    turned
}

/// Every box two rows or more below those that lead to it: labels stand in between.
fn rows(nodes: usize, edges: &[Edge], turned: &[bool], last: &[usize]) -> Vec<usize> {
    let mut rows = vec![0; nodes];
    loop {
        let mut moved = false;
        for (edge, turned) in edges.iter().zip(turned) {
            let (above, below) = if *turned { (edge.to, edge.from) } else { (edge.from, edge.to) };
            if rows[below] < rows[above] + 2 {
                rows[below] = rows[above] + 2;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let lowest = rows.iter().copied().max().unwrap_or(0);
    for node in last {
        rows[*node] = lowest;
    }
    rows
}

/// The cells of an arrow, from its beginning to its head; those between are new.
fn chain(cells: &mut Vec<Cell>, edge: &Edge, turned: bool) -> Vec<usize> {
    let (above, below) = if turned { (edge.to, edge.from) } else { (edge.from, edge.to) };
    let between = cells[above].row + 1..cells[below].row;
    let labelled = if turned { between.end - 1 } else { between.start };
    let mut chain = vec![above];
    for row in between {
        let size = if row == labelled { edge.label } else { Size::default() };
        chain.push(cells.len());
        let (at, above, below) = (Point::default(), Vec::new(), Vec::new());
        cells.push(Cell { row, size, at, above, below });
    }
    chain.push(below);
    for pair in chain.windows(2) {
        cells[pair[0]].below.push(pair[1]);
        cells[pair[1]].above.push(pair[0]);
    }
    if turned {
        chain.reverse();
    }
    chain
}

/// Puts each row into the order of its neighbours, and keeps what crosses least.
fn order(table: &mut Vec<Vec<usize>>, cells: &[Cell]) {
    let mut best = (crossings(table, cells), table.clone());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let mut numbers: Vec<usize> = (0..table.len()).collect();
        if !down {
            numbers.reverse();
        }
        for number in numbers {
            let places = places(table, cells.len());
            let middle = |cell: &usize| {
                let near = if down { &cells[*cell].above } else { &cells[*cell].below };
                mean(near.iter().map(|other| places[*other] as f64)).unwrap_or(places[*cell] as f64)
            };
            table[number].sort_by(|one, other| middle(one).total_cmp(&middle(other)));
        }
        let found = crossings(table, cells);
        if found < best.0 {
            best = (found, table.clone());
        }
    }
    *table = best.1;
}

/// Each cell's number in its row.
fn places(table: &[Vec<usize>], cells: usize) -> Vec<usize> {
    let mut places = vec![0; cells];
    for row in table {
        for (place, cell) in row.iter().enumerate() {
            places[*cell] = place;
        }
    }
    places
}

fn crossings(table: &[Vec<usize>], cells: &[Cell]) -> usize {
    let places = places(table, cells.len());
    let mut found = 0;
    for row in table {
        let steps: Vec<(usize, usize)> = row
            .iter()
            .flat_map(|cell| cells[*cell].below.iter().map(|to| (places[*cell], places[*to])))
            .collect();
        for (number, one) in steps.iter().enumerate() {
            let crosses = |other: &&(usize, usize)| {
                (one.0 < other.0 && one.1 > other.1) || (one.0 > other.0 && one.1 < other.1)
            };
            found += steps[number + 1..].iter().filter(crosses).count();
        }
    }
    found
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), next| (sum + next, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Moves cells of a row towards their neighbours in others, keeping order and room.
fn spread(table: &[Vec<usize>], cells: &mut [Cell]) {
    for sweep in 0..SWEEPS {
        let mut numbers: Vec<usize> = (0..table.len()).collect();
        if sweep % 2 == 1 {
            numbers.reverse();
        }
        for row in numbers.into_iter().map(|number| &table[number]) {
            let wished: Vec<f64> = row
                .iter()
                .map(|cell| {
                    let cell = &cells[*cell];
                    let near = cell.above.iter().chain(&cell.below);
                    mean(near.map(|other| cells[*other].at.x)).unwrap_or(cell.at.x)
                })
                .collect();
            let room = |left: usize| {
                let pair = (cells[row[left]].size.wide, cells[row[left + 1]].size.wide);
                f64::midpoint(pair.0, pair.1) + BESIDE
            };
            let (mut right, mut left) = (wished.clone(), wished);
            for place in 1..row.len() {
                right[place] = right[place].max(right[place - 1] + room(place - 1));
            }
            for place in (1..row.len()).rev() {
                left[place - 1] = left[place - 1].min(left[place] - room(place - 1));
            }
            for (place, cell) in row.iter().enumerate() {
                cells[*cell].at.x = f64::midpoint(right[place], left[place]);
            }
        }
    }
}

/// Puts the rows below each other, with nothing left of or above the origin; the whole size.
fn stack(table: &[Vec<usize>], cells: &mut [Cell]) -> Size {
    let left = |cell: &Cell| cell.at.x - cell.size.wide / 2.0;
    let origin = cells.iter().map(left).fold(f64::INFINITY, f64::min);
    let mut size = Size::default();
    for row in table {
        let high = row.iter().map(|cell| cells[*cell].size.high).fold(0.0, f64::max);
        for cell in row {
            let cell = &mut cells[*cell];
            cell.at = Point { x: cell.at.x - origin, y: size.high + high / 2.0 };
            size.wide = size.wide.max(cell.at.x + cell.size.wide / 2.0);
        }
        size.high += high + BELOW;
    }
    size.high = (size.high - BELOW).max(0.0);
    size
}

/// From the edge of the first cell to that of the last, straight through those between.
fn line(cells: &[Cell], chain: &[usize]) -> Vec<Point> {
    let [first, .., end] = chain else { return Vec::new() };
    let up = cells[*first].row > cells[*end].row;
    let sign = if up { -1.0 } else { 1.0 };
    let mut line = Vec::new();
    for (number, cell) in chain.iter().map(|cell| &cells[*cell]).enumerate() {
        let half = sign * cell.size.high / 2.0;
        if number > 0 {
            line.push(Point { x: cell.at.x, y: cell.at.y - half });
        }
        if number + 1 < chain.len() {
            line.push(Point { x: cell.at.x, y: cell.at.y + half });
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Size = Size { wide: 40.0, high: 20.0 };

    fn edge((from, to): (usize, usize)) -> Edge {
        Edge { from, to, label: Size { wide: 60.0, high: 12.0 } }
    }

    fn lay(nodes: usize, edges: &[(usize, usize)], last: &[usize]) -> Laid {
        let edges: Vec<Edge> = edges.iter().copied().map(edge).collect();
        layers(&vec![BOX; nodes], &edges, last)
    }

    #[test]
    fn arrows_lead_down_and_those_that_lead_back_lead_up() {
        let laid = lay(4, &[(0, 1), (1, 2), (2, 1), (2, 3), (0, 3)], &[3]);
        let rows: Vec<f64> = laid.nodes.iter().map(|at| at.y).collect();
        assert!(rows.is_sorted_by(|one, other| one < other), "{rows:?}");
        for (number, line) in laid.lines.iter().enumerate() {
            let heights: Vec<f64> = line.iter().map(|at| at.y).collect();
            let (first, last) = (heights[0], heights[heights.len() - 1]);
            assert_eq!(first > last, number == 2, "{number}: {heights:?}");
        }
    }

    #[test]
    fn nothing_lies_upon_anything_else_and_all_is_inside() {
        let edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (1, 5), (3, 5), (2, 1)];
        let laid = lay(6, &edges, &[4, 5]);
        let label = edge((0, 0)).label;
        let boxes: Vec<(Point, Size)> = (laid.nodes.iter().map(|at| (*at, BOX)))
            .chain(laid.labels.iter().map(|at| (*at, label)))
            .collect();
        for (number, (at, size)) in boxes.iter().enumerate() {
            assert!(at.x - size.wide / 2.0 >= -0.001 && at.y - size.high / 2.0 >= -0.001);
            assert!(at.x + size.wide / 2.0 <= laid.size.wide + 0.001);
            assert!(at.y + size.high / 2.0 <= laid.size.high + 0.001);
            for (other, beside) in &boxes[number + 1..] {
                let apart = (at.x - other.x).abs() >= f64::midpoint(size.wide, beside.wide)
                    || (at.y - other.y).abs() >= f64::midpoint(size.high, beside.high);
                assert!(apart, "{at:?} {other:?}");
            }
        }
    }

    #[test]
    fn arrows_that_need_not_cross_do_not() {
        let edges: Vec<Edge> = [(0, 3), (1, 2)].into_iter().map(edge).collect();
        let laid = layers(&[BOX; 4], &edges, &[]);
        let [one, two, three, four] = laid.nodes[..] else { panic!("four") };
        assert_eq!(one.x < two.x, four.x < three.x, "{:?}", laid.nodes);
    }
}
