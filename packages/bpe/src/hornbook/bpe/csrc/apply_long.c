/* Applies merges to a long pretoken: its places wait in a queue, by the rank of the pair that starts there. So time is
 * linear; only if the merges are out of order, which no learned ones are, a heap holds each place. */
#include "apply.h"
#include "pages.h"

#include <stdlib.h>

/* A place of a long pretoken. */
typedef struct {
    int32_t id;
    int32_t rank; /* of the pair that starts here */
    int32_t after, before;
} node;

/* Places where pairs start, in chunks that are linked: half a line of the cache each. Number 0 is none. */
enum { CHUNK_PLACES = 6 };
typedef struct {
    int32_t next, num_places, places[CHUNK_PLACES];
} chunk;

/* Places by the rank of their pair, and a binary heap that says what comes first. A pair that went into another
 * merge leaves its place behind; whoever takes it out sees by the node that its rank has changed.
 *
 * If the merges are in order, the heap holds each rank that has places, as rank << 32, and the lists hold the
 * places; if not, it holds each place by itself, as rank << 32 | place, and there are no lists. */
struct hb_queue {
    node *nodes;
    int64_t num_nodes; /* room */
    chunk *chunks;
    int32_t num_chunks, max_chunks, free_chunk;
    struct {
        int32_t first, last;
    } *lists;
    uint64_t *heap;
    int64_t heap_size, heap_room;
    int32_t last; /* the node of the last token, when all is merged */
};

void hb_queue_free(struct hb_queue *queue) {
    if (!queue) return;
    hb_pages_free(queue->nodes, sizeof(node) * (size_t)queue->num_nodes);
    hb_pages_free(queue->chunks, sizeof(chunk) * (size_t)queue->max_chunks);
    free(queue->lists);
    free(queue->heap);
    free(queue);
}

static struct hb_queue *queue_new(const hb_merges *merges) {
    struct hb_queue *queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    if (!merges->is_ordered) return queue;
    queue->num_chunks = 1;
    queue->lists = calloc((size_t)merges->num_merges + 1, sizeof *queue->lists);
    if (queue->lists) return queue;
    hb_queue_free(queue);
    return NULL;
}

static int32_t push(struct hb_queue *queue, uint64_t item) {
    if (queue->heap_size == queue->heap_room) {
        const int64_t room = queue->heap_room ? 2 * queue->heap_room : 256;
        uint64_t *heap = realloc(queue->heap, sizeof *heap * (size_t)room);
        if (!heap) return HB_OUT_OF_MEMORY;
        queue->heap = heap;
        queue->heap_room = room;
    }
    int64_t at = queue->heap_size++;
    for (int64_t parent; at > 0 && queue->heap[parent = (at - 1) / 2] > item; at = parent)
        queue->heap[at] = queue->heap[parent];
    queue->heap[at] = item;
    return 0;
}

static uint64_t pop(struct hb_queue *queue) {
    uint64_t *const heap = queue->heap;
    const uint64_t least = heap[0], last = heap[--queue->heap_size];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < queue->heap_size; at = child) {
        if (child + 1 < queue->heap_size && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return least;
}

/* Room for so many chunks in all; those there are stay. */
static int32_t reserve_chunks(struct hb_queue *queue, int64_t num_chunks) {
    if (num_chunks <= queue->max_chunks) return 0;
    if (num_chunks > INT32_MAX) return HB_OUT_OF_MEMORY;
    chunk *chunks = hb_pages_new(sizeof(chunk) * (size_t)num_chunks);
    if (!chunks) return HB_OUT_OF_MEMORY;
    if (queue->chunks) memcpy(chunks, queue->chunks, sizeof(chunk) * (size_t)queue->num_chunks);
    hb_pages_free(queue->chunks, sizeof(chunk) * (size_t)queue->max_chunks);
    queue->chunks = chunks;
    queue->max_chunks = (int32_t)num_chunks;
    return 0;
}

/* The number of an empty chunk, 0 if there is no memory. */
static int32_t take_chunk(struct hb_queue *queue) {
    int32_t number = queue->free_chunk;
    if (number) {
        queue->free_chunk = queue->chunks[number].next;
    } else {
        if (queue->num_chunks >= queue->max_chunks && reserve_chunks(queue, 2 * (int64_t)queue->max_chunks)) return 0;
        number = queue->num_chunks++;
    }
    queue->chunks[number].next = queue->chunks[number].num_places = 0;
    return number;
}

static int32_t push_place(struct hb_queue *queue, int32_t rank, int32_t place) {
    if (rank == HB_NO_RANK) return 0;
    if (!queue->lists) return push(queue, (uint64_t)rank << 32 | (uint32_t)place);
    int32_t last = queue->lists[rank].last;
    if (!last || queue->chunks[last].num_places == CHUNK_PLACES) {
        const int32_t fresh = take_chunk(queue);
        if (!fresh) return HB_OUT_OF_MEMORY;
        if (last) {
            queue->chunks[last].next = fresh;
        } else {
            queue->lists[rank].first = fresh;
            if (push(queue, (uint64_t)rank << 32)) return HB_OUT_OF_MEMORY;
        }
        queue->lists[rank].last = last = fresh;
    }
    chunk *const full = &queue->chunks[last];
    full->places[full->num_places++] = place;
    return 0;
}

static int compare_places(const void *left, const void *right) {
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return (a > b) - (a < b);
}

/* Takes the places of a rank out of its list, into `places`; returns how many. In ascending order where that
 * matters: where pairs overlap ("aaa"). */
static int64_t take_places(struct hb_queue *queue, int32_t rank, int32_t *places) {
    int64_t num_places = 0;
    int is_ascending = 1, is_double = 0;
    const int32_t first = queue->lists[rank].first, last = queue->lists[rank].last;
    for (int32_t number = first; number; number = queue->chunks[number].next) {
        const chunk *from = &queue->chunks[number], *next = &queue->chunks[from->next];
        for (int i = 0; from->next && i < next->num_places; i++) __builtin_prefetch(&queue->nodes[next->places[i]]);
        for (int i = 0; i < from->num_places; i++) {
            const node *at = &queue->nodes[from->places[i]];
            if (at->rank != rank) continue;
            is_ascending &= !num_places || places[num_places - 1] < from->places[i];
            is_double = at->id == queue->nodes[at->after].id;
            places[num_places++] = from->places[i];
        }
    }
    queue->chunks[last].next = queue->free_chunk;
    queue->free_chunk = first;
    queue->lists[rank].first = queue->lists[rank].last = 0;
    if (!is_ascending && is_double)
        qsort(places, (size_t)num_places, sizeof *places, compare_places);
    return num_places;
}

/* Merges the pair at `at` with what follows and queues the pairs that this makes. */
static int32_t merge_at(const hb_merges *merges, struct hb_queue *queue, node *at, int32_t size) {
    node *const nodes = queue->nodes, *const gone = &nodes[at->after];
    const int32_t place = (int32_t)(at - nodes);
    at->id = merges->products[at->rank];
    at->after = gone->after;
    at->rank = gone->rank = HB_NO_RANK;
    if (at->after < size) {
        nodes[at->after].before = place;
        at->rank = hb_rank_of(merges, at->id, nodes[at->after].id);
        if (push_place(queue, at->rank, place)) return HB_OUT_OF_MEMORY;
    }
    if (at->before >= 0) {
        node *const previous = &nodes[at->before];
        previous->rank = hb_rank_of(merges, previous->id, at->id);
        if (push_place(queue, previous->rank, at->before)) return HB_OUT_OF_MEMORY;
    }
    return 0;
}

static int32_t reserve_nodes(struct hb_queue *queue, int64_t size) {
    /* More than places ever fill: to make room later is to copy them all. */
    if (queue->lists && reserve_chunks(queue, size / 4 + 256)) return HB_OUT_OF_MEMORY;
    if (size <= queue->num_nodes) return 0;
    hb_pages_free(queue->nodes, sizeof(node) * (size_t)queue->num_nodes);
    queue->num_nodes = 0;
    queue->nodes = hb_pages_new(sizeof(node) * (size_t)size);
    if (!queue->nodes) return HB_OUT_OF_MEMORY;
    queue->num_nodes = size;
    return 0;
}

/* Merges all of a stretch; `ids` has room for `size`. Returns the number of ids or HB_OUT_OF_MEMORY. */
static int64_t apply_stretch(const hb_merges *merges, struct hb_queue *queue, const uint8_t *bytes, int32_t size,
                             int32_t *ids) {
    if (reserve_nodes(queue, size)) return HB_OUT_OF_MEMORY;
    node *const nodes = queue->nodes;
    for (int32_t i = 0; i < size; i++) {
        const int32_t rank = i + 1 < size ? merges->byte_ranks[bytes[i] << 8 | bytes[i + 1]] : HB_NO_RANK;
        nodes[i] = (node){merges->byte_ids[bytes[i]], rank, i + 1, i - 1};
        if (push_place(queue, rank, i)) return HB_OUT_OF_MEMORY;
    }
    int32_t *const places = ids; /* not needed for the ids before the end */
    while (queue->heap_size) {
        const uint64_t item = pop(queue);
        const int32_t rank = (int32_t)(item >> 32);
        places[0] = (int32_t)(uint32_t)item;
        const int64_t num_places = queue->lists ? take_places(queue, rank, places) : 1;
        for (int64_t i = 0; i < num_places; i++) {
            if (i + 8 < num_places) __builtin_prefetch(&nodes[places[i + 8]]);
            node *const at = &nodes[places[i]];
            if (at->rank != rank) continue; /* it went into another merge: that of the one before, for instance */
            if (merge_at(merges, queue, at, size)) return HB_OUT_OF_MEMORY;
        }
    }
    int64_t num_ids = 0;
    for (int32_t i = 0; i < size; i = nodes[i].after) {
        ids[num_ids++] = nodes[i].id;
        queue->last = i;
    }
    return num_ids;
}

/* A pretoken longer than a stretch is merged stretch by stretch, all of which the second cache holds. Each begins with
 * a token near the end of the one before. If that token comes out again, the tokens before it and those from it on
 * are the result for both stretches together; if not, or if a stretch is only a few tokens, stretches must be longer.
 *
 * Why that is exact, if the merges are in order: then tokens are the result for their bytes if and only if each pair of
 * neighbours is the result for theirs. For merges happen in the order of their ranks, and the first one across the
 * border of two tokens would depend on nothing but what the two are made of; so it would happen were they alone. And
 * every pair of neighbours stands in one of the two stretches. */
enum { STRETCH = 1 << 14, TOKENS_AGAIN = 16 };

static int64_t apply_stretches(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int32_t size) {
    if (!scratch->queue && !(scratch->queue = queue_new(merges))) return HB_OUT_OF_MEMORY;
    struct hb_queue *const queue = scratch->queue;
    int32_t stretch = merges->is_ordered ? STRETCH : size, place = 0;
    int64_t num_ids = 0;      /* before `place` */
    int32_t expected = -1;    /* the token at `place`, if it is known */
    for (;;) {
        const int32_t left = size - place, length = left < stretch ? left : stretch;
        int32_t *const ids = scratch->ids + num_ids;
        const int64_t num_more = apply_stretch(merges, queue, bytes + place, length, ids);
        if (num_more < 0) return num_more;
        const int is_as_expected = expected < 0 || ids[0] == expected;
        if (is_as_expected && length == left) return num_ids + num_more;
        if (!is_as_expected || num_more < 2 * TOKENS_AGAIN) {
            stretch = size / 4 < stretch ? size : 4 * stretch;
            place = 0, num_ids = 0, expected = -1;
            continue;
        }
        int32_t at = queue->last;
        for (int i = 1; i < TOKENS_AGAIN; i++) at = queue->nodes[at].before;
        num_ids += num_more - TOKENS_AGAIN;
        expected = scratch->ids[num_ids];
        place += at;
    }
}

void hb_scratch_free(hb_scratch *scratch) {
    free(scratch->ids);
    hb_queue_free(scratch->queue);
    *scratch = (hb_scratch){NULL, 0, NULL};
}

static int32_t reserve(hb_scratch *scratch, int64_t size) {
    if (size <= scratch->size) return 0;
    free(scratch->ids);
    scratch->size = 0;
    scratch->ids = malloc(sizeof(int32_t) * (size_t)size);
    if (!scratch->ids) return HB_OUT_OF_MEMORY;
    scratch->size = size;
    return 0;
}

int64_t hb_apply_long(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int64_t size) {
    if (size > INT32_MAX - 1) return HB_OUT_OF_MEMORY; /* places are of 32 bits; it would take 60 GB */
    if (reserve(scratch, size)) return HB_OUT_OF_MEMORY;
    for (int64_t i = 0; i < size; i++)
        if (merges->byte_ids[bytes[i]] < 0) return hb_missing_byte(merges, bytes);
    const int64_t num_ids = apply_stretches(merges, scratch, bytes, (int32_t)size);
    if (num_ids < 0) hb_scratch_free(scratch); /* what it left in the queue is nobody's */
    return num_ids;
}
