/* Applies merges to a pretoken: again and again, of all neighbours that have a merge, joins those of the earliest,
 * the leftmost first (Sennrich et al. 2016).
 *
 * Short pretokens are most of what there is: the ranks of all neighbours lie in an array, whose least the
 * processor finds several at a time. Long ones queue their places by rank, so that time is linear; only if the
 * merges are out of order, which no learned ones are, a heap holds each place.
 */
#include "apply.h"

#include <stdlib.h>

#define NO_RANK INT32_MAX

enum {
    ID_BITS = 21,   /* of a token; Python refuses larger vocabularies */
    RANK_BITS = 22, /* of a merge; Python refuses more than 2^22 - 2 of them */
    BUCKET = 4,     /* slots: 32 bytes, half a line of the cache */
    SHORT_SIZE = 64,
    PLACE_BITS = 7, /* of a place in a short pretoken: rank and place share 31 bits */
};

#define NO_MERGE ((UINT64_C(1) << RANK_BITS) - 1) /* the rank of no merge, because there are fewer */
#define EMPTY (~UINT64_C(0))

struct hb_merges {
    uint64_t *slots;           /* left << 43 | right << 22 | rank; buckets are filled from the left */
    uint64_t num_buckets;      /* a power of two */
    int64_t num_merges;
    int is_ordered;            /* no merge makes a token that an earlier one uses: true of all learned merges */
    int32_t *products;         /* by rank */
    int32_t byte_ids[256];     /* -1: not in the vocabulary */
    int32_t byte_ranks[65536]; /* of two bytes that follow each other: most look-ups, and without any search */
};

static inline uint64_t pair_key(int32_t left, int32_t right) {
    return ((uint64_t)left << ID_BITS | (uint64_t)right) << RANK_BITS;
}

static inline uint64_t first_bucket(const hb_merges *merges, uint64_t key) {
    return (key * UINT64_C(0x9E3779B97F4A7C15)) >> 40 & (merges->num_buckets - 1);
}

/* Rank of the merge of two tokens, NO_RANK if there is none. Without a branch that depends on the text: of a
 * bucket, the slot that differs from the key in its rank alone is the one whose difference is least. */
static inline int32_t rank_of(const hb_merges *merges, int32_t left, int32_t right) {
    const uint64_t key = pair_key(left, right);
    for (uint64_t bucket = first_bucket(merges, key);; bucket = (bucket + 1) & (merges->num_buckets - 1)) {
        const uint64_t *slots = merges->slots + BUCKET * bucket;
        uint64_t least = slots[0] ^ key;
        for (int i = 1; i < BUCKET; i++) least = (slots[i] ^ key) < least ? slots[i] ^ key : least;
        if (least >= NO_MERGE && slots[BUCKET - 1] != EMPTY) continue; /* full: the next one may have it */
        return least < NO_MERGE ? (int32_t)least : NO_RANK;
    }
}

/* Whether no merge makes a token that an earlier one uses; HB_OUT_OF_MEMORY. */
static int are_ordered(const int32_t *pairs, const int32_t *products, int64_t num_merges) {
    uint8_t *is_used = calloc(1, (size_t)1 << ID_BITS >> 3);
    if (!is_used) return HB_OUT_OF_MEMORY;
    int is_ordered = 1;
    for (int64_t rank = 0; rank < num_merges && is_ordered; rank++) {
        for (int side = 0; side < 2; side++) {
            const int32_t id = pairs[2 * rank + side];
            is_used[id >> 3] |= (uint8_t)(1 << (id & 7));
        }
        is_ordered = !(is_used[products[rank] >> 3] >> (products[rank] & 7) & 1);
    }
    free(is_used);
    return is_ordered;
}

/* Pairs of ids and the id of each product, by rank; no pair twice. NULL: out of memory. */
hb_merges *hb_merges_new(const int32_t *byte_ids, const int32_t *pairs, const int32_t *products,
                         int64_t num_merges) {
    hb_merges *merges = calloc(1, sizeof *merges);
    if (!merges) return NULL;
    merges->num_merges = num_merges;
    merges->num_buckets = 64;
    while (2 * merges->num_buckets < (uint64_t)num_merges) merges->num_buckets *= 2;
    const size_t num_bytes = sizeof(uint64_t) * BUCKET * merges->num_buckets;
    merges->slots = malloc(num_bytes);
    merges->products = malloc(sizeof(int32_t) * (size_t)(num_merges + 1));
    merges->is_ordered = are_ordered(pairs, products, num_merges);
    if (!merges->slots || !merges->products || merges->is_ordered < 0) {
        hb_merges_free(merges);
        return NULL;
    }
    memset(merges->slots, 0xFF, num_bytes);
    memcpy(merges->byte_ids, byte_ids, sizeof merges->byte_ids);
    if (num_merges) memcpy(merges->products, products, sizeof(int32_t) * (size_t)num_merges);
    for (int64_t rank = 0; rank < num_merges; rank++) {
        const uint64_t key = pair_key(pairs[2 * rank], pairs[2 * rank + 1]);
        uint64_t at = BUCKET * first_bucket(merges, key);
        while (merges->slots[at] != EMPTY) at = (at + 1) & (BUCKET * merges->num_buckets - 1);
        merges->slots[at] = key | (uint64_t)rank;
    }
    for (int left = 0; left < 256; left++)
        for (int right = 0; right < 256; right++)
            merges->byte_ranks[left << 8 | right] = byte_ids[left] < 0 || byte_ids[right] < 0
                                                        ? NO_RANK
                                                        : rank_of(merges, byte_ids[left], byte_ids[right]);
    return merges;
}

void hb_merges_free(hb_merges *merges) {
    if (!merges) return;
    free(merges->slots);
    free(merges->products);
    free(merges);
}

/* HB_MISSING_BYTE - b for the first byte b that has no id. */
static HB_NOINLINE int64_t missing_byte(const hb_merges *merges, const uint8_t *bytes) {
    while (merges->byte_ids[*bytes] >= 0) bytes++;
    return HB_MISSING_BYTE - *bytes;
}

/* Places stay where they are; those of tokens that went into another are skipped by `after` and `before`. */
static int64_t apply_short(const hb_merges *merges, int32_t *ids, const uint8_t *bytes, int size) {
    int32_t keys[SHORT_SIZE + 8]; /* rank << PLACE_BITS | place of each pair, by its first place */
    uint8_t after[SHORT_SIZE + 1], before[SHORT_SIZE + 1];
    const int padded = (size + 1) & ~1;
    int32_t all = 0;
    for (int i = 0; i < size; i++) {
        all |= ids[i] = merges->byte_ids[bytes[i]];
        after[i] = (uint8_t)(i + 1);
        before[i] = (uint8_t)(i - 1);
    }
    if (all < 0) return missing_byte(merges, bytes);
    for (int i = 0; i < size - 1; i++) {
        const int32_t rank = merges->byte_ranks[bytes[i] << 8 | bytes[i + 1]];
        keys[i] = rank == NO_RANK ? NO_RANK : rank << PLACE_BITS | i;
    }
    for (int i = size - 1; i < padded; i++) keys[i] = NO_RANK;

    int num_ids = size;
    for (;;) {
        int32_t least = NO_RANK, other = NO_RANK;
        for (int i = 0; i < padded; i += 2) {
            int32_t a = keys[i], b = keys[i + 1];
            __asm__("" : "+r"(a), "+r"(b));
            least = a < least ? a : least;
            other = b < other ? b : other;
        }
        least = least < other ? least : other;
        if (least == NO_RANK) break;
        const int at = least & ((1 << PLACE_BITS) - 1), gone = after[at], next = after[gone];
        ids[at] = merges->products[least >> PLACE_BITS];
        keys[gone] = keys[at] = NO_RANK;
        after[at] = (uint8_t)next;
        num_ids--;
        if (next < size) {
            before[next] = (uint8_t)at;
            const int32_t rank = rank_of(merges, ids[at], ids[next]);
            if (rank != NO_RANK) keys[at] = rank << PLACE_BITS | at;
        }
        if (at > 0) {
            const int previous = before[at];
            const int32_t rank = rank_of(merges, ids[previous], ids[at]);
            keys[previous] = rank == NO_RANK ? NO_RANK : rank << PLACE_BITS | previous;
        }
    }
    for (int i = 0, at = 0; i < num_ids; i++, at = after[at]) ids[i] = ids[at];
    return num_ids;
}

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

/* Places by the rank of their pair, and a binary heap of the ranks that have any. A pair that went into another
 * merge leaves its place behind; whoever takes it out sees by the node that its rank has changed. */
struct hb_queue {
    node *nodes;
    int64_t num_nodes; /* room */
    chunk *chunks;
    int32_t num_chunks, max_chunks, free_chunk;
    struct {
        int32_t first, last;
    } *lists;
    int32_t *ranks;
    int64_t num_ranks;
    int is_ordered;        /* as the merges are; if not, there is only this heap of rank << 32 | place: */
    uint64_t *heap;
    int64_t heap_size, heap_room;
};

static void queue_free(struct hb_queue *queue) {
    if (!queue) return;
    free(queue->nodes);
    free(queue->chunks);
    free(queue->lists);
    free(queue->ranks);
    free(queue->heap);
    free(queue);
}

static struct hb_queue *queue_new(const hb_merges *merges) {
    struct hb_queue *queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    queue->is_ordered = merges->is_ordered;
    if (!merges->is_ordered) return queue;
    const int64_t num_merges = merges->num_merges;
    queue->num_chunks = 1;
    queue->lists = calloc((size_t)num_merges + 1, sizeof *queue->lists);
    queue->ranks = malloc(sizeof *queue->ranks * ((size_t)num_merges + 1));
    if (queue->lists && queue->ranks) return queue;
    queue_free(queue);
    return NULL;
}

static void push_rank(struct hb_queue *queue, int32_t rank) {
    int64_t at = queue->num_ranks++;
    for (int64_t parent; at > 0 && queue->ranks[parent = (at - 1) / 2] > rank; at = parent)
        queue->ranks[at] = queue->ranks[parent];
    queue->ranks[at] = rank;
}

static int32_t pop_rank(struct hb_queue *queue) {
    int32_t *const ranks = queue->ranks;
    const int32_t least = ranks[0], last = ranks[--queue->num_ranks];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < queue->num_ranks; at = child) {
        if (child + 1 < queue->num_ranks && ranks[child + 1] < ranks[child]) child++;
        if (ranks[child] >= last) break;
        ranks[at] = ranks[child];
    }
    ranks[at] = last;
    return least;
}

/* The number of an empty chunk, 0 if there is no memory. */
static int32_t take_chunk(struct hb_queue *queue) {
    int32_t number = queue->free_chunk;
    if (number) {
        queue->free_chunk = queue->chunks[number].next;
    } else {
        if (queue->num_chunks >= queue->max_chunks) {
            if (queue->max_chunks > INT32_MAX / 4) return 0;
            const int32_t more = queue->max_chunks ? 2 * queue->max_chunks : 256;
            chunk *chunks = realloc(queue->chunks, sizeof *chunks * (size_t)more);
            if (!chunks) return 0;
            queue->chunks = chunks;
            queue->max_chunks = more;
        }
        number = queue->num_chunks++;
    }
    queue->chunks[number].next = queue->chunks[number].num_places = 0;
    return number;
}

static int32_t push_on_heap(struct hb_queue *queue, uint64_t item) {
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

static uint64_t pop_from_heap(struct hb_queue *queue) {
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

static int32_t push_place(struct hb_queue *queue, int32_t rank, int32_t place) {
    if (rank == NO_RANK) return 0;
    if (!queue->is_ordered) return push_on_heap(queue, (uint64_t)rank << 32 | (uint32_t)place);
    int32_t last = queue->lists[rank].last;
    if (!last || queue->chunks[last].num_places == CHUNK_PLACES) {
        const int32_t fresh = take_chunk(queue);
        if (!fresh) return HB_OUT_OF_MEMORY;
        if (last) {
            queue->chunks[last].next = fresh;
        } else {
            queue->lists[rank].first = fresh;
            push_rank(queue, rank);
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

/* Takes the places of the least rank out of the queue, into `places`; returns how many, and the rank. In
 * ascending order where that matters: where pairs overlap ("aaa"). */
static int64_t pop_places(struct hb_queue *queue, int32_t *places, int32_t *rank) {
    *rank = pop_rank(queue);
    int64_t num_places = 0;
    int is_ascending = 1, is_double = 0;
    const int32_t first = queue->lists[*rank].first, last = queue->lists[*rank].last;
    for (int32_t number = first; number; number = queue->chunks[number].next) {
        const chunk *from = &queue->chunks[number], *next = &queue->chunks[from->next];
        for (int i = 0; from->next && i < next->num_places; i++) __builtin_prefetch(&queue->nodes[next->places[i]]);
        for (int i = 0; i < from->num_places; i++) {
            const node *at = &queue->nodes[from->places[i]];
            if (at->rank != *rank) continue;
            is_ascending &= !num_places || places[num_places - 1] < from->places[i];
            is_double = at->id == queue->nodes[at->after].id;
            places[num_places++] = from->places[i];
        }
    }
    queue->chunks[last].next = queue->free_chunk;
    queue->free_chunk = first;
    queue->lists[*rank].first = queue->lists[*rank].last = 0;
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
    at->rank = gone->rank = NO_RANK;
    if (at->after < size) {
        nodes[at->after].before = place;
        at->rank = rank_of(merges, at->id, nodes[at->after].id);
        if (push_place(queue, at->rank, place)) return HB_OUT_OF_MEMORY;
    }
    if (at->before >= 0) {
        node *const previous = &nodes[at->before];
        previous->rank = rank_of(merges, previous->id, at->id);
        if (push_place(queue, previous->rank, at->before)) return HB_OUT_OF_MEMORY;
    }
    return 0;
}

static int64_t apply_long(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int32_t size) {
    struct hb_queue *const queue = scratch->queue;
    node *const nodes = queue->nodes;
    for (int32_t i = 0; i < size; i++) {
        const int32_t rank = i + 1 < size ? merges->byte_ranks[bytes[i] << 8 | bytes[i + 1]] : NO_RANK;
        nodes[i] = (node){merges->byte_ids[bytes[i]], rank, i + 1, i - 1};
        if (push_place(queue, rank, i)) return HB_OUT_OF_MEMORY;
    }
    while (queue->heap_size) { /* merges out of order: one place at a time */
        const uint64_t item = pop_from_heap(queue);
        node *const at = &nodes[(uint32_t)item];
        if (at->rank == (int32_t)(item >> 32) && merge_at(merges, queue, at, size)) return HB_OUT_OF_MEMORY;
    }
    int32_t *const places = scratch->ids; /* not needed for the ids before the end */
    while (queue->num_ranks) {
        int32_t rank;
        const int64_t num_places = pop_places(queue, places, &rank);
        for (int64_t i = 0; i < num_places; i++) {
            if (i + 8 < num_places) __builtin_prefetch(&nodes[places[i + 8]]);
            node *const at = &nodes[places[i]];
            if (at->rank != rank) continue; /* the one before overlapped it */
            if (merge_at(merges, queue, at, size)) return HB_OUT_OF_MEMORY;
        }
    }
    int64_t num_ids = 0;
    for (int32_t i = 0; i < size; i = nodes[i].after) scratch->ids[num_ids++] = nodes[i].id;
    return num_ids;
}

void hb_scratch_free(hb_scratch *scratch) {
    free(scratch->ids);
    queue_free(scratch->queue);
    *scratch = (hb_scratch){NULL, 0, NULL};
}

/* Room for the ids, and for the nodes of a long pretoken. */
static int32_t reserve(hb_scratch *scratch, int64_t size, const hb_merges *merges) {
    if (size > scratch->size) {
        free(scratch->ids);
        scratch->size = 0;
        scratch->ids = malloc(sizeof(int32_t) * (size_t)size);
        if (!scratch->ids) return HB_OUT_OF_MEMORY;
        scratch->size = size;
    }
    if (size <= SHORT_SIZE) return 0;
    if (!scratch->queue && !(scratch->queue = queue_new(merges))) return HB_OUT_OF_MEMORY;
    if (size > scratch->queue->num_nodes) {
        free(scratch->queue->nodes);
        scratch->queue->num_nodes = 0;
        scratch->queue->nodes = malloc(sizeof(node) * (size_t)size);
        if (!scratch->queue->nodes) return HB_OUT_OF_MEMORY;
        scratch->queue->num_nodes = size;
    }
    return 0;
}

int64_t hb_apply(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int64_t size) {
    if (size > INT32_MAX - 1) return HB_OUT_OF_MEMORY; /* places are of 32 bits; it would take 60 GB */
    if (reserve(scratch, size < SHORT_SIZE ? SHORT_SIZE : size, merges)) return HB_OUT_OF_MEMORY;
    if (size <= SHORT_SIZE) return apply_short(merges, scratch->ids, bytes, (int)size);
    for (int64_t i = 0; i < size; i++)
        if (merges->byte_ids[bytes[i]] < 0) return missing_byte(merges, bytes);
    const int64_t num_ids = apply_long(merges, scratch, bytes, (int32_t)size);
    if (num_ids < 0) hb_scratch_free(scratch); /* what it left in the queue is nobody's */
    return num_ids;
}
